"""FTP and FTPS, sans-I/O dialogues of ``protocols.ftp`` on trio sockets."""

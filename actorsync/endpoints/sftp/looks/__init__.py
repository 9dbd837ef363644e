"""What an SFTP connection finds out about the target, and changes nothing that anybody can see."""

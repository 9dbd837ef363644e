"""The command line: ``commands`` parses it, the other modules do what one command says."""

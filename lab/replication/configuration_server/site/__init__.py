"""The management web site of the configuration server (seed L140): HTML from the server, no script."""

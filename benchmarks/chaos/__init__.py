"""`make chaos`: the service is killed again and again, and nothing that it acknowledged is lost."""

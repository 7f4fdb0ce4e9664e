"""One generation on one page: what was asked, what was remembered, what each memory did, what came."""

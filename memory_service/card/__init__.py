"""A generation on one page: what was asked and remembered, what each memory did, what came."""

"""Runs on other machines by Celery: the host's launcher, and the worker that executes what it launches."""

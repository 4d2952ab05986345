"""`manage.py doctor`: looks over a deployment; says what is wrong, why it matters, what to do."""

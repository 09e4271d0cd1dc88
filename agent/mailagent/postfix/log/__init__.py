"""What Postfix's log tells: lines, followed through rotation, joined to outcomes."""

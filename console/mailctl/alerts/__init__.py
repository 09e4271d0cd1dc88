"""Who is told of trouble, and when."""

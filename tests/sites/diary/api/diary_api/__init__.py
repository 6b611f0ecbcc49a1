"""What shows the diary."""

"""What is written: names that never collide, and files that are complete or not there."""

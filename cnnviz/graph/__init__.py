"""What a network is: typed operators, shapes, layers. Imports no framework."""

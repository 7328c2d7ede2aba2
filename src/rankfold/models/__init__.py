"""Networks and weights that users name: the zoo, files, other libraries, factories."""

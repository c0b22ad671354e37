"""How good pictures are: measured by judges that never saw the model that drew them."""

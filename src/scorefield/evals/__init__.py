"""The quality of pictures, measured by judges that never saw the model that drew them."""

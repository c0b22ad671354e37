"""Six families of generative models of the plane behind one contract, one module each."""

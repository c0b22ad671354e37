"""Six families of generative models of the plane behind one contract, each a module of its own."""

"""How a GPU's kernel library runs a layer: tiles, waves, memory curve, algorithm choice, launch."""

"""Changes of a loaded model: LoRAs, learned words, compiled code."""

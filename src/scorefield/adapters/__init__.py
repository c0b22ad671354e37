"""Changes to a loaded model: LoRAs, learned words, compiled code."""

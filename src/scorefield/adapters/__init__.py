"""What changes a loaded model: LoRAs, learned words, compiled code."""

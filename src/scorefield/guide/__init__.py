"""Guidance: functions from Denoise to Denoise. They hold no state, and they compose."""

"""From prompts to conditions: tokenizers, and the text encoders behind them."""

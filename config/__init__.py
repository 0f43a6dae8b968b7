"""How configuration is read: URLs, YAML, `.env`, and what to say of a mistake."""

"""Protocol families of language-model services."""

"""OpenAI's API, Responses aside: chat, completions, models, and what `responses` shares with them.

It follows the API reference of OpenAI.
"""

"""What is said: conversations, the events of a reply, and chat formats (templates, Harmony).

It does not know models, backends or HTTP.
"""

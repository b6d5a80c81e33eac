"""``/v1/responses``: OpenAI's Responses API, with its state.

It follows the API reference of OpenAI. It does not know how a reply is computed.
"""

"""Anthropic's Messages API, ``/v1/messages``: its blocks, its events, its errors.

Follows the reference at https://docs.anthropic.com/en/api/messages.
"""

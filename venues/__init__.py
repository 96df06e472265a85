"""Exchanges: one folder each, made of codec, book rules, subscriptions and signing."""

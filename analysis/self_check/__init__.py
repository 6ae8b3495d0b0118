"""Identities that must hold exactly, with controls that must not. Nothing that is a matter of degree."""

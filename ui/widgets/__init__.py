"""Pieces that several tabs use. What only one tab uses belongs beside it."""

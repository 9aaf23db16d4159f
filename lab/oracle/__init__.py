"""Proof of what a replica holds: writers of dependent records, a witness outside, a pure checker. Stands alone.

``group`` says who writes where, ``native_tool`` compiles the writer and scanner, ``witness`` keeps what writers say,
``scan`` reads copies, ``judge`` decides.
"""

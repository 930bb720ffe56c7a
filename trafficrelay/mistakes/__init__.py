"""The mistakes for which a signature does not verify, each a small variation of a request or of how it is verified.

`explain` tries them, for an operator and never for a request. None of them verifies anything by itself: each gives a
`Trial`, which the scheme that is in it then checks as ever.
"""

"""Model stealing: how much of a model can be copied by asking it, and at what price?"""

"""Batch lanes: requests gathered into the providers' own batches, which are answered later, at half the price.

`lane` gathers and uploads, `watch` looks after one batch until its results are in the reply cache, `store` is what
survives a kill, `openai` and `anthropic` are what the two kinds of provider want. What a request costs and what its
job makes of the reply is `exchange`'s. Nothing is imported here: most runs need none of it.
"""

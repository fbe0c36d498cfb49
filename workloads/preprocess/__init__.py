"""From raw data to a network's inputs, one file a kind of data: what MMBench's applications do before the network.

Everything that torch can trace is a module, so that it shows in the graph as ``preprocess:<modality>``. Only
tokenisation stays on the host (`HostStep`).
"""

"""The Learn tab: what a lecture on convolutional networks teaches, to try out. A bench each; the frame is ``tab.py``.

What the benches compute is in ``analysis``; what they need of models and data sets, in ``lab/learning``.
"""

"""Controls of membership inference: do members and non-members differ by themselves, whatever the model remembers?

Blind ones never see the model: images and labels alone (blind), images that stand in both groups (twins). The out-model sees
what an attack sees on a model that was not trained on an image (out_model).
"""

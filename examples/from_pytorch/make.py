"""Writes what the example needs, with PyTorch: the weights of a small encoder, inputs, and PyTorch's own results.

usage: python make.py [FOLDER]        needs torch and safetensors; only their results are needed to run the example

The results are computed in double precision, so that they are the truth for single precision. The script prints how far
PyTorch's own single precision is from them, in units of --rtol 1e-5 --atol 1e-5.
"""
import copy
import pathlib
import sys

import torch
from safetensors.torch import save_file
from torch import nn


def encoder():
    layer = nn.TransformerEncoderLayer(d_model=32, nhead=4, dim_feedforward=64, dropout=0.0, activation="gelu",
                                       batch_first=True, norm_first=True)
    model = nn.TransformerEncoder(layer, num_layers=2, norm=nn.LayerNorm(32), enable_nested_tensor=False)
    for parameter in model.parameters():                 # biases and scales of norms as if they had been trained
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.2)
        else:
            nn.init.xavier_uniform_(parameter)
    return model.eval()


def run(model, x, lengths, cotangent):
    x = x.clone().requires_grad_()
    hidden = torch.arange(x.shape[1])[None, :] >= lengths[:, None]
    y = model(x, src_key_padding_mask=hidden)
    y.backward(cotangent)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return y.detach(), {"x": x.grad, **gradients}


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    torch.manual_seed(0)
    model = encoder()
    x = torch.randn(2, 7, 32)
    cotangent = torch.randn(2, 7, 32)
    lengths = torch.tensor([7, 4])
    save_file(model.state_dict(), folder / "encoder.safetensors")
    save_file({"x": x, "lengths": lengths}, folder / "inputs.safetensors")
    save_file({"y": cotangent}, folder / "cotangents.safetensors")

    single, _ = run(copy.deepcopy(model), x, lengths, cotangent)
    y, gradients = run(model.double(), x.double(), lengths, cotangent.double())
    save_file({"y": y}, folder / "expected.safetensors")
    save_file({"x": gradients["x"]}, folder / "expected_gradients.safetensors")
    error = ((single - y).abs() / (1e-5 + 1e-5 * y.abs())).max().item()
    print(f"PyTorch's single precision: {error:.2f} of what is allowed")


main()

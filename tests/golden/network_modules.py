"""Every network of the library as a PyTorch module, the way the documents write it.

build(name, options) makes one; options are those of poolhead_forward, as Python values. Backbones are torchvision's.
"""

import torch
import torch.nn.functional as F
import torchvision
from torch import nn


def conv3(i, o):
    return nn.Conv2d(i, o, 3, padding=1)


# ------------------------------------------------------------------------------------------------ heads


class Average(nn.Module):
    def forward(self, x):
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


class Maximum(nn.Module):
    def forward(self, x):
        return F.adaptive_max_pool2d(x, 1).flatten(1)


class Mixed(nn.Module):
    def forward(self, x):
        return torch.cat([F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)], dim=1).flatten(1)


class GeM(nn.Module):
    def __init__(self):
        super().__init__()
        self.p = nn.Parameter(torch.ones(1) * 3)

    def forward(self, x):
        return x.clamp(min=1e-6).pow(self.p).mean(dim=[2, 3]).pow(1.0 / self.p)


class LogSumExp(nn.Module):
    def __init__(self):
        super().__init__()
        self.r = nn.Parameter(torch.ones(1))

    def forward(self, x):
        flat = x.flatten(2)
        return (torch.logsumexp(self.r * flat, dim=2) - torch.log(torch.tensor(float(flat.shape[2])).to(x))) / self.r


class SoftPool(nn.Module):
    def forward(self, x):
        flat = x.flatten(2)
        return (flat * torch.softmax(flat, dim=2)).sum(2)


class SPP(nn.Module):
    def __init__(self, levels=(1, 2, 4), spp_pool="avg"):
        super().__init__()
        self.levels, self.pool = levels, F.adaptive_avg_pool2d if spp_pool == "avg" else F.adaptive_max_pool2d

    def forward(self, x):
        return torch.cat([self.pool(x, level).flatten(1) for level in self.levels], dim=1)


class ImprovedSPP(nn.Module):
    def __init__(self, channels, out_features=256, levels=(1, 2, 4)):
        super().__init__()
        self.levels = levels
        self.level_projections = nn.ModuleList(
            nn.Sequential(nn.Linear(channels * l * l, out_features // len(levels)), nn.ReLU()) for l in levels
        )

    def forward(self, x):
        bins = [F.adaptive_avg_pool2d(x, level).flatten(1) for level in self.levels]
        return torch.cat([project(flat) for project, flat in zip(self.level_projections, bins)], dim=1)


class Attention(nn.Module):
    def __init__(self, channels, kind, hidden=None):
        super().__init__()
        self.kind = kind
        hidden = hidden or max(channels // (16 if kind == "softmax" else 8), 1)
        self.attention = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, 1, 1))

    def forward(self, x):
        score = self.attention(x)
        if self.kind == "softmax":
            weight = torch.softmax(score.flatten(1), dim=1).view_as(score)
            return (x * weight).sum(dim=[2, 3])
        weight = torch.sigmoid(score)
        return (x * weight).sum(dim=[2, 3]) / weight.sum(dim=[2, 3])


class FlattenHead(nn.Module):
    def __init__(self, channels, height, width, hidden=4096):
        super().__init__()
        self.fc = nn.Linear(channels * height * width, hidden)

    def forward(self, x):
        return self.fc(x.flatten(1))


def head(pool, channels, options, size=None):
    """(module, features); size is that of the maps."""
    levels = options.get("levels", (1, 2, 4))
    if pool == "avg":
        return Average(), channels
    if pool == "max":
        return Maximum(), channels
    if pool in ("mixed", "concat-pool"):
        return Mixed(), 2 * channels
    if pool == "gem":
        return GeM(), channels
    if pool == "lse":
        return LogSumExp(), channels
    if pool == "soft":
        return SoftPool(), channels
    if pool == "spp":
        return SPP(levels, options.get("spp_pool", "avg")), channels * sum(l * l for l in levels)
    if pool == "improved-spp":
        out = options.get("out_features", 256)
        return ImprovedSPP(channels, out, levels), out // len(levels) * len(levels)
    if pool.endswith("-attention"):
        return Attention(channels, pool.split("-")[0], options.get("attention_hidden")), channels
    if pool == "flatten":
        hidden = options.get("hidden", 4096)
        return FlattenHead(channels, *size, hidden), hidden
    raise ValueError(pool)


# ------------------------------------------------------------------------------------------------ blocks


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, reduction=16):
        super().__init__()
        reduced = max(channels // reduction, 1)
        self.excitation = nn.Sequential(
            nn.Linear(channels, reduced, bias=False), nn.ReLU(), nn.Linear(reduced, channels, bias=False), nn.Sigmoid()
        )

    def forward(self, x):
        return x * self.excitation(x.mean(dim=[2, 3]))[:, :, None, None]


class ChannelAttention(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        reduced = max(channels // reduction, 1)
        self.fc = nn.Sequential(
            nn.Linear(channels, reduced, bias=False), nn.ReLU(), nn.Linear(reduced, channels, bias=False)
        )

    def forward(self, x):
        average, maximum = F.adaptive_avg_pool2d(x, 1).flatten(1), F.adaptive_max_pool2d(x, 1).flatten(1)
        return x * torch.sigmoid(self.fc(average) + self.fc(maximum))[:, :, None, None]


class SpatialAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x):
        statistics = torch.cat([x.mean(dim=1, keepdim=True), x.max(dim=1, keepdim=True)[0]], dim=1)
        return x * torch.sigmoid(self.conv(statistics))


class CBAM(nn.Module):
    def __init__(self, channels, reduction=16):
        super().__init__()
        self.channel_attention = ChannelAttention(channels, reduction)
        self.spatial_attention = SpatialAttention()

    def forward(self, x):
        return self.spatial_attention(self.channel_attention(x))


class NetVLAD(nn.Module):
    def __init__(self, channels, clusters=64, intra=False):
        super().__init__()
        self.intra = intra
        self.clusters = nn.Parameter(torch.randn(clusters, channels))
        self.assignment = nn.Conv2d(channels, clusters, 1, bias=False)

    def forward(self, x):
        share = torch.softmax(self.assignment(x).flatten(2), dim=1)  # (N, K, S)
        flat = x.flatten(2)  # (N, C, S)
        vlad = torch.einsum("ncs,nks->nck", flat, share) - self.clusters.t()[None] * share.sum(2)[:, None, :]
        if self.intra:
            vlad = F.normalize(vlad, p=2, dim=1)
        return F.normalize(vlad.flatten(1), p=2, dim=1)


# ------------------------------------------------------------------------------------------------ networks


class FourHead(nn.Module):
    def __init__(self, kind, num_classes=10, in_channels=3, hidden=256, fourth="spp", options=None):
        super().__init__()
        self.conv_layers = nn.Sequential(
            conv3(in_channels, 32), nn.ReLU(), nn.MaxPool2d(2), conv3(32, 64), nn.ReLU(), nn.MaxPool2d(2)
        )
        features, relu = 512, nn.ReLU
        self.kind = kind
        if kind == "basic":
            self.branch1_conv = nn.Sequential(conv3(64, 128), relu())
            self.branch2_conv, self.branch3_conv, self.branch4_conv = (conv3(64, 128) for _ in range(3))
        elif kind == "branches":
            self.branch1_conv = nn.Sequential(conv3(64, 128), relu(), conv3(128, 128), relu())
            self.branch2_conv = nn.Sequential(nn.Conv2d(64, 128, 3, padding=2, dilation=2), relu())
            self.branch3_conv = nn.Sequential(nn.Conv2d(64, 128, 1), relu())
            self.branch4_conv = nn.Sequential(conv3(64, 64), relu(), nn.Conv2d(64, 128, 1), relu())
        elif kind == "filters":
            self.branch1_conv = nn.Sequential(conv3(64, 256), relu(), conv3(256, 128), relu())
            self.branch2_conv = nn.Sequential(conv3(64, 32), relu(), conv3(32, 128), relu())
            self.branch3_conv = conv3(64, 128)
            self.branch4_conv = nn.Conv2d(64, 128, 1)
        else:
            last, count = head(fourth, 64, options or {})
            self.pools = nn.ModuleList([Average(), Maximum(), GeM(), last])
            features = 3 * 64 + count
        self.fc = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))

    def forward(self, x):
        x = self.conv_layers(x)
        if self.kind == "four":
            return self.fc(torch.cat([pool(x) for pool in self.pools], dim=1))
        branches = [self.branch1_conv, self.branch2_conv, self.branch3_conv, self.branch4_conv]
        pools = [F.adaptive_max_pool2d, F.adaptive_avg_pool2d] * 2
        return self.fc(torch.cat([pool(branch(x), 1).flatten(1) for pool, branch in zip(pools, branches)], dim=1))


class ConvNet(nn.Module):
    def __init__(self, pool, num_classes=10, in_channels=1):
        super().__init__()
        layers, i = [], in_channels
        for o in (8, 16, 32):
            layers += [conv3(i, o), nn.ReLU(), conv3(o, o), nn.ReLU(), nn.MaxPool2d(2)]
            i = o
        self.network = nn.Sequential(*layers, nn.Conv2d(32, num_classes, 1))
        self.pool = pool

    def forward(self, x):
        return torch.sigmoid(self.pool(self.network(x), 1).flatten(1))


class PooledCNN(nn.Module):
    def __init__(self, pool, num_classes, in_channels, options, size, padding):
        super().__init__()
        conv = lambda i, o: nn.Conv2d(i, o, 3, padding=padding)
        self.features = nn.Sequential(
            conv(in_channels, 64), nn.ReLU(), conv(64, 128), nn.ReLU(), conv(128, 256), nn.ReLU()
        )
        if size and not padding:
            size = [extent - 6 for extent in size]
        self.global_pool, features = head(pool, 256, options, size)
        self.classifier = nn.Linear(features, num_classes)
        self.softmax = not padding

    def forward(self, x):
        y = self.classifier(self.global_pool(self.features(x)))
        return torch.softmax(y, dim=1) if self.softmax else y


class SimpleCNN(nn.Sequential):
    def __init__(self, pool, num_classes, in_channels, options, size):
        layers, i = [], in_channels
        for o in (32, 64, 128, 256):
            layers += [conv3(i, o), nn.MaxPool2d(2)]
            i = o
        super().__init__(*layers[:-1])
        size = [extent // 8 for extent in size] if size else None
        module, features = head(pool, 256, options, size)
        self.add_module("global_pool", module)
        self.add_module("fc", nn.Linear(features, num_classes))
        self.add_module("sigmoid", nn.Sigmoid())


class GAPClassification(nn.Module):
    def __init__(self, pool, num_classes, in_channels, options, size):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(in_channels, 2048, 1), nn.BatchNorm2d(2048), nn.ReLU())
        self.global_pool, features = head(pool, 2048, options, size)
        self.classifier = nn.Linear(features, num_classes)

    def forward(self, x):
        return self.classifier(self.global_pool(self.features(x)))


def norm_block(i, o):
    return nn.Sequential(conv3(i, o), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2))


class MultiScale(nn.Module):
    def __init__(self, in_channels=3):
        super().__init__()
        widths = [in_channels, 64, 128, 256, 512]
        self.conv_blocks = nn.ModuleList(norm_block(i, o) for i, o in zip(widths, widths[1:]))

    def forward(self, x):
        outputs = {}
        for i, block in enumerate(self.conv_blocks):
            x = block(x)
            outputs[f".spatial.{i}"] = x
            outputs[f".global.{i}"] = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return outputs


class Progressive(nn.Module):
    def __init__(self, num_classes=1000, in_channels=3):
        super().__init__()
        self.stage1, self.stage2 = norm_block(in_channels, 64), norm_block(64, 128)
        self.stage3, self.stage4 = norm_block(128, 256), norm_block(256, 512)
        self.classifier = nn.Linear(896, num_classes)

    def forward(self, x):
        x2 = self.stage2(self.stage1(x))
        x3 = self.stage3(x2)
        x4 = self.stage4(x3)
        return self.classifier(torch.cat([F.adaptive_avg_pool2d(s, 1).flatten(1) for s in (x2, x3, x4)], dim=1))


class AttentionTop(nn.Module):
    def __init__(self, channels, num_classes, hidden, attention_hidden):
        super().__init__()
        self.attention_pool = Attention(channels, "sigmoid", attention_hidden)
        self.classifier = nn.Sequential(
            nn.Dropout(0.0), nn.Linear(channels, hidden), nn.ReLU(), nn.Dropout(0.0), nn.Linear(hidden, num_classes)
        )

    def forward(self, x):
        return self.classifier(self.attention_pool(x))


class DenseNetAttention(AttentionTop):
    def __init__(self, in_channels, num_classes, hidden, attention_hidden):
        super().__init__(1024, num_classes, hidden, attention_hidden)
        self.backbone = densenet_features(in_channels)

    def forward(self, x):
        return super().forward(self.backbone(x))


def densenet_features(in_channels):
    features = torchvision.models.densenet121(weights=None).features
    if in_channels != 3:
        features.conv0 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
    return features


class DenseNet(nn.Module):
    def __init__(self, pool, num_classes, in_channels, options, size):
        super().__init__()
        self.features = densenet_features(in_channels)
        self.global_pool, features = head(pool, 1024, options, size)
        self.classifier = nn.Linear(features, num_classes) if options.get("include_top", 1) else nn.Identity()

    def forward(self, x):
        return self.classifier(self.global_pool(F.relu(self.features(x))))


def resnet(depth, pool, num_classes, in_channels, options, size):
    network = {18: torchvision.models.resnet18, 50: torchvision.models.resnet50}[depth](weights=None)
    if in_channels != 3:
        network.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
    channels = network.fc.in_features
    network.avgpool, features = head(pool, channels, options, size)
    network.fc = nn.Linear(features, num_classes) if options.get("include_top", 1) else nn.Identity()
    return network


class Transfer(nn.Module):
    """A ResNet-50 whose logits are made probabilities, under ResNet's own names."""

    def __init__(self, network):
        super().__init__()
        for name, child in network.named_children():
            self.add_module(name, child)
        self.network = [network]

    def forward(self, x):
        return torch.softmax(self.network[0](x), dim=1)


DEFAULTS = {  # in_channels, num_classes
    "conv-gap": (1, 10),
    "conv-gmp": (1, 10),
    "simple-cnn": (3, 1),
    "gap-classification": (512, 1000),
    "progressive": (3, 1000),
    "attention-classifier": (1024, 3),
    "resnet18": (3, 1000),
    "resnet50": (3, 1000),
    "transfer-model": (3, 20),
    "densenet121": (3, 1000),
    "densenet121-attention": (3, 3),
}


def after(size, halvings):
    """What is left of an image after convolutions of stride 2."""
    for _ in range(halvings):
        size = [(extent + 1) // 2 for extent in size]
    return size


def build(name, options):
    """The module; options may hold height and width, which flatten needs."""
    options = dict(options)
    in_channels, num_classes = DEFAULTS.get(name, (3, 10))
    in_channels = options.get("in_channels", in_channels)
    num_classes = options.get("num_classes", num_classes)
    pool = options.get("pool", "avg")
    size = [options["height"], options["width"]] if "height" in options else None
    common = (pool, num_classes, in_channels, options)
    if name.startswith("four-head"):
        kind = name[10:] or "four"
        return FourHead(
            kind, num_classes, in_channels, options.get("hidden", 256), options.get("fourth", "spp"), options
        )
    if name in ("conv-gap", "conv-gmp"):
        pools = {"conv-gap": F.adaptive_avg_pool2d, "conv-gmp": F.adaptive_max_pool2d}
        return ConvNet(pools[name], num_classes, in_channels)
    if name == "pooled-cnn":
        return PooledCNN(*common, size, padding=1)
    if name == "keras-cnn":
        return PooledCNN(*common, size, padding=0)
    if name == "simple-cnn":
        return SimpleCNN(*common, size)
    if name == "gap-classification":
        return GAPClassification(*common, size)
    if name == "multi-scale":
        return MultiScale(in_channels)
    if name == "progressive":
        return Progressive(num_classes, in_channels)
    if name == "attention-classifier":
        return AttentionTop(in_channels, num_classes, options.get("hidden", 512), options.get("attention_hidden"))
    if name in ("resnet18", "resnet50"):
        return resnet(int(name[6:]), *common, size and after(size, 5))
    if name == "transfer-model":
        return Transfer(resnet(50, *common, size and after(size, 5)))
    if name == "densenet121":
        return DenseNet(*common, size and [extent // 8 for extent in after(size, 2)])
    if name == "densenet121-attention":
        return DenseNetAttention(
            in_channels, num_classes, options.get("hidden", 512), options.get("attention_hidden")
        )
    if name == "squeeze-excitation":
        return SqueezeExcitation(options["in_channels"], options.get("reduction", 16))
    if name == "cbam":
        return CBAM(options["in_channels"], options.get("reduction", 16))
    if name == "netvlad":
        return NetVLAD(options["in_channels"], options.get("clusters", 64), options.get("intra_normalise", 0) == 1)
    return head(name, options.get("in_channels", 1), options)[0]

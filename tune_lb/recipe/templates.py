"""The pieces of a recipe: plain PyTorch, as it is printed."""

STREAM = '''
def stream(*purpose):
    """The random numbers of the search: those of this seed and purpose, whatever else was drawn."""
    digest = hashlib.sha256("\\x1f".join(map(str, (DRAWS, SEED, *purpose))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
'''

BATCHES = '''
def batches(num_examples, num_updates):
    """Permutations of the train set, one after another, cut into full batches."""
    left, epoch = torch.empty(0, dtype=torch.long), 0
    for _ in range(num_updates):
        while len(left) < BATCH_SIZE:
            left = torch.cat([left, torch.randperm(num_examples, generator=stream("order", epoch))])
            epoch += 1
        yield left[:BATCH_SIZE]
        left = left[BATCH_SIZE:]
'''

PLAIN = '''
def backward(model, x, y):
    """Leave the gradient of the batch's mean loss in .grad; return the loss."""
    loss = LOSS
    loss.backward()
    return loss.detach()
'''

SAM = '''
def backward(model, x, y):
    """Sharpness-aware minimization (Foret et al., 2021): the gradient at w + rho g / |g|, in two passes."""
    loss = LOSS
    loss.backward()
    params = [p for p in model.parameters() if p.grad is not None]
    length = torch.stack([p.grad.square().sum() for p in params]).sum().sqrt().clamp_min(torch.finfo().tiny)
    starts = [p.detach().clone() for p in params]
    layers = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    with torch.no_grad():
        for p in params:
            p += SAM_RHO * p.grad / length
    for layer in layers:
        layer.momentum = 0.0  # batch-norm statistics come from the first pass only
    model.zero_grad()
    LOSS.backward()
    for layer, momentum in zip(layers, momenta):
        layer.momentum = momentum
    with torch.no_grad():
        for p, start in zip(params, starts):
            p.copy_(start)
    return loss.detach()
'''

SAM_BY_PIECES = '''
def backward(model, x, y):
    """m-SAM: every piece of SAM_M examples has a perturbation of its own; gradients and statistics are averaged."""
    num_pieces = len(x) // SAM_M
    start = {name: value.clone() for name, value in model.named_buffers()}
    trained = [p for p in model.parameters() if p.requires_grad]
    losses, gradients, ends = [], [], []
    for j in range(num_pieces):
        for name, value in model.named_buffers():
            value.copy_(start[name])
        model.zero_grad()
        losses.append(backward_of_piece(model, x[j::num_pieces], y[j::num_pieces]))
        gradients.append([p.grad for p in trained])
        ends.append({name: value.clone() for name, value in model.named_buffers()})
    for p, pieces in zip(trained, zip(*gradients)):
        p.grad = None if pieces[0] is None else torch.stack(pieces).mean(0)
    for name, value in model.named_buffers():
        if value.is_floating_point():
            value.copy_(torch.stack([end[name] for end in ends]).mean(0))
    return torch.stack(losses).mean()
'''

NOISE = """\
        sigma = math.sqrt(GRADIENT_NOISE_ALPHA / (1 + step) ** GRADIENT_NOISE_GAMMA)
        trained = [p for p in model.parameters() if p.requires_grad]
        sizes = [p.numel() for p in trained]
        noise = torch.randn(sum(sizes), generator=stream("gradient_noise", step)).split(sizes)
        for p, drawn in zip(trained, noise):
            if p.grad is not None:
                p.grad += sigma * drawn.view_as(p)  # Neelakantan et al., 2015, eq. 1
"""

GHOST = '''
class GhostBatchNorm:
    """Batch norm over groups of GHOST_BATCH_SIZE examples while training (Hoffer et al., 2017, algorithm 1)."""

    whole_batch = False

    def forward(self, x):
        if not self.training or self.whole_batch:
            return super().forward(x)
        if len(x) % GHOST_BATCH_SIZE:
            raise ValueError(f"{GHOST_BATCH_SIZE} does not divide a batch of {len(x)}")
        groups, channels = len(x) // GHOST_BATCH_SIZE, x.shape[1]
        # example i is in group i mod groups: seen as (size, groups * channels, ...), one batch norm does them all
        grouped = x.reshape(GHOST_BATCH_SIZE, groups * channels, *x.shape[2:])
        means, variances = self.running_mean.repeat(groups), self.running_var.repeat(groups)
        weight, bias = self.weight.repeat(groups), self.bias.repeat(groups)
        y = F.batch_norm(grouped, means, variances, weight, bias, True, 1.0, self.eps)
        with torch.no_grad():
            self.running_mean.lerp_(means.view(groups, channels).mean(0), self.momentum)
            self.running_var.lerp_(variances.view(groups, channels).mean(0), self.momentum)
            self.num_batches_tracked += 1
        return y.reshape(x.shape)


class GhostBatchNorm1d(GhostBatchNorm, nn.BatchNorm1d):
    pass


class GhostBatchNorm2d(GhostBatchNorm, nn.BatchNorm2d):
    pass


def with_ghost_batch_norm(model):
    """Turn every batch norm of a model into its ghost twin."""
    for layer in model.modules():
        if type(layer) is nn.BatchNorm1d:
            layer.__class__ = GhostBatchNorm1d
        elif type(layer) is nn.BatchNorm2d:
            layer.__class__ = GhostBatchNorm2d
    return model
'''

TRAIN = '''
def train(model, inputs, targets, order=None):
    """Train and return the loss of every update; order: index tensors, one per batch."""
    num_updates = UPDATES
    OPTIMIZER
    losses = []
    model.train()
    for step, index in enumerate(order or batches(len(inputs), num_updates)):
        RATES
        optimizer.zero_grad()
        loss = backward(model, inputs[index], targets[index])
        NOISE
        optimizer.step()
        losses.append(loss.item())
    return losses
'''

RECALIBRATE = '''
def recalibrate(model, inputs):
    """Batch-norm statistics of the whole train set: after few updates the running averages lag behind the weights."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    num_chunks = math.ceil(len(inputs) / CHUNK)
    edges = [len(inputs) * i // num_chunks for i in range(num_chunks + 1)]
    model.eval()
    for layer in layers:
        layer.train()
        layer.whole_batch = True
    with torch.no_grad():
        for start, stop in zip(edges, edges[1:]):
            for layer in layers:
                layer.momentum = (stop - start) / stop  # every example weighs the same
            model(inputs[start:stop])
    for layer, momentum in zip(layers, momenta):
        layer.momentum = momentum
        layer.whole_batch = False
    model.eval()
'''

ERROR = '''
def error(model, inputs, targets):
    """Share of examples misclassified."""
    model.eval()
    with torch.no_grad():
        wrong = [model(x).argmax(1) != y for x, y in zip(inputs.split(2000), targets.split(2000))]
    return torch.cat(wrong).float().mean().item()
'''

MAIN = """
if __name__ == "__main__":
    # the data of the search; put your own here: float inputs (N, ...), class numbers (N,)
    data = LOAD
    inputs, test_inputs = (torch.tensor(data.standardized(part.inputs)) for part in (data.train, data.test))
    targets, test_targets = torch.tensor(data.train.targets), torch.tensor(data.test.targets)
    SEEDS
    model = build_model()
    losses = train(model, inputs, targets)
    RECALIBRATE
    print(f"loss of the last update {losses[-1]:.4f}, test error {100 * error(model, test_inputs, test_targets):.2f} %")
"""

BY_TUNE_LB = '''
def train(seed):
    """Train a member as the search does, and return what is known of it: its row, its weights."""
    training = begun(TRIAL, [seed], on_device(TRIAL.data.load(TRIAL.split_seed), "cpu"))
    while not training.done:
        training.advance()
    return outcomes(training, metrics=(), wall_s=0.0)[0]


if __name__ == "__main__":
    print(f"test error {100 * train(SEED).row['test_error']:.2f} %")
'''

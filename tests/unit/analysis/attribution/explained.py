"""A small residual network that all methods can explain."""

from torch import Tensor, nn


class ResidualNet(nn.Module):
    """Three classes; one in-place ReLU used three times, as in torchvision's BasicBlock."""

    def __init__(self, rectifier: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.relu = rectifier(inplace=True)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.conv3 = nn.Conv2d(6, 8, 3, stride=2)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.conv1(x)))
        x = self.relu(self.conv2(x) + x)
        return self.fc(self.relu(self.conv3(x)).mean((2, 3)))

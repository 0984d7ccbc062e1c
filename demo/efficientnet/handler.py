"""The handler: TorchServe's image classifier, with the input that EfficientNet-Lite was trained on."""

from torchvision import transforms
from torchvision.transforms import InterpolationMode

from ts.torch_handler.image_classifier import ImageClassifier


class EfficientNetClassifier(ImageClassifier):
    """JPEG or PNG bytes to ``{label: probability}`` of the five likeliest classes."""

    topk = 5
    image_processing = transforms.Compose(
        [
            transforms.Resize(256, InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            # The TensorFlow original subtracts 127 from each byte and divides by 128.
            transforms.Normalize(mean=[127 / 255] * 3, std=[128 / 255] * 3),
        ]
    )

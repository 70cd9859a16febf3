"""Teachers by name: every form of a specification, and what each says when it cannot be built."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import timm
import torch
import transformers
from torch import nn

from distill.config import make_config
from distill.run_folder import describe_run, save_checkpoint
from distill.students.build import build_student
from distill.teachers.build import SAM_PTH, TEACHERS, build_task_teacher, build_teacher, spec_forms
from distill.teachers.huggingface import PatchTokens
from distill.teachers.segment_anything import encoder_architecture
from distill.teachers.student import StudentMapsTeacher
from distill.teachers.timm_models import load_timm
from edge.errors import DataError, MissingDependencyError, TrainingError, UsageError
from edge.util.extras import resolve
from tests.support.tiny_teachers import mask2former

if TYPE_CHECKING:
    from pathlib import Path


def dinov2() -> nn.Module:
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=1, image_size=28, patch_size=14
    )
    network: nn.Module = transformers.Dinov2Model(config)
    return network


def sam_pth_state(*, window: int = 3) -> dict[str, torch.Tensor]:
    """Weights of a small random encoder of the segment-anything package."""
    from segment_anything.modeling import ImageEncoderViT

    torch.manual_seed(0)
    encoder: nn.Module = ImageEncoderViT(
        img_size=96,
        embed_dim=32,
        depth=3,
        num_heads=4,
        mlp_ratio=2.0,
        out_chans=8,
        use_rel_pos=True,
        window_size=window,
        global_attn_indexes=(1,),
    )
    for name, value in encoder.state_dict().items():
        if "pos" in name:
            nn.init.normal_(value, std=0.3)
    return dict(encoder.state_dict())


def test_identity_follows_the_weights() -> None:
    torch.manual_seed(1)
    first, second = PatchTokens(dinov2(), "dinov2"), PatchTokens(dinov2(), "dinov2")
    same = PatchTokens(dinov2(), "dinov2")
    same.load_state_dict(first.state_dict())
    assert first.identity == same.identity != second.identity
    assert first.identity.startswith("dinov2 ")


def test_wrong_images_are_refused() -> None:
    teacher = PatchTokens(dinov2(), "dinov2")
    for images in (torch.zeros(1, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="uint8 RGB"):
            teacher.features(images, (2, 2))


def test_every_row_of_the_table_resolves() -> None:
    assert all(callable(resolve(form.builder)) for form in TEACHERS.values())
    assert callable(resolve(SAM_PTH))
    teacher = build_teacher("efficientnet_lite2")
    assert (teacher.channels, teacher.size, teacher.grid) == (120, 512, (32, 32))


def test_the_size_follows_the_source(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line tells what was loaded; the default is the size of the checkpoint."""
    dinov2().save_pretrained(tmp_path)  # type: ignore[operator] # a method, for all its types
    caplog.set_level("INFO")
    for spec, size, cells in (("", 28, 2), ("?size=70", 70, 5)):
        caplog.clear()
        teacher = build_teacher(f"dinov2:{tmp_path}{spec}")
        assert (teacher.size, teacher.grid) == (size, (cells, cells))
        (record,) = caplog.records
        line = record.getMessage()
        assert f"{size} pixels, {cells}x{cells} cells, {tmp_path}, Apache-2.0" in line
        assert "M parameters" in line
    identities = {build_teacher(f"dinov2:{tmp_path}?size={size}").identity for size in (28, 70)}
    assert len(identities) == 2
    assert build_teacher("efficientnet_lite2?size=1040").grid == (64, 64), "the stated limit"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("efficientnet_lite2?size=250", "size=240 or size=256"),
        ("efficientnet_lite2?size=big", "a whole number from 14 to 4096"),
        ("efficientnet_lite2?side=256", "unknown option 'side'"),
        ("efficientnet_lite2?normalize=min-max", "unknown option 'normalize'"),
        ("dinov2:FOLDER?size=500", "a multiple of its patch of 14 pixels"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(tmp_path: Path, spec: str, words: str) -> None:
    dinov2().save_pretrained(tmp_path)  # type: ignore[operator]
    with pytest.raises(UsageError) as caught:
        build_teacher(spec.replace("FOLDER", str(tmp_path)))
    assert words in str(caught.value)


def test_a_checkpoint_says_how_its_pictures_are_normalized(tmp_path: Path) -> None:
    processor = {
        "image_processor_type": "Mask2FormerImageProcessor",
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.3, 0.4],
        "size": {"shortest_edge": 100, "longest_edge": 2000},
    }
    network = mask2former()
    network.save_pretrained(tmp_path)
    plain = build_teacher(f"mask2former:{tmp_path}?size=96")
    assert build_teacher(f"mask2former:{tmp_path}").size == 640
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    teacher = build_teacher(f"mask2former:{tmp_path}")
    assert (teacher.size, teacher.grid) == (128, (16, 16)), "a multiple of the coarsest stride"
    assert "(0.5, 0.4, 0.3)" in teacher.preprocessing
    small = build_teacher(f"mask2former:{tmp_path}?size=96")
    images = torch.randint(0, 256, (1, 3, 96, 96), dtype=torch.uint8)
    assert not torch.allclose(small.features(images), plain.features(images), atol=1e-3)


def test_medsams_normalization_is_chosen_by_an_option(tmp_path: Path) -> None:
    state = {f"image_encoder.{key}": value for key, value in sam_pth_state().items()}
    torch.save(state, tmp_path / "medsam.pth")
    teacher = build_teacher(f"sam:{tmp_path / 'medsam.pth'}?normalize=min-max")
    images = torch.randint(0, 100, (1, 3, 96, 96), dtype=torch.uint8)
    brighter = images + 100
    assert torch.allclose(teacher.features(images), teacher.features(brighter), atol=1e-5)
    published = build_teacher(f"sam:{tmp_path / 'medsam.pth'}")
    assert not torch.allclose(published.features(images), published.features(brighter), atol=1e-2)
    assert teacher.identity != published.identity


@pytest.mark.parametrize(
    "spec", ["dino", "", "sam:", "efficientnet_lite2:folder", ":x", "timm", "timm:", "run", "run:"]
)
def test_an_unknown_teacher_names_the_legal_ones(spec: str) -> None:
    with pytest.raises(UsageError, match="unknown teacher") as caught:
        build_teacher(spec)
    assert all(form in caught.value.expected for form in spec_forms())
    assert all(name in caught.value.expected for name in TEACHERS)


def test_an_unreachable_hub_points_to_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[bool] = []

    def offline(_: str, *, local_files_only: bool) -> None:
        modes.append(local_files_only)
        raise OSError("We couldn't connect to the hub\nmore")

    monkeypatch.setattr(transformers.PretrainedConfig, "get_config_dict", offline)
    with pytest.raises(MissingDependencyError, match="could not be had") as caught:
        build_teacher("dinov2:somebody/something")
    assert modes == [True, False]  # the local copy first
    assert "dinov2:DIR" in caught.value.hint
    assert caught.value.got == "We couldn't connect to the hub"


def test_sams_own_checkpoint_equals_that_of_transformers(
    tmp_path: Path,
) -> None:
    state = sam_pth_state()
    torch.save(
        {f"image_encoder.{key}": value for key, value in state.items()}, tmp_path / "sam.pth"
    )
    teacher = build_teacher(f"sam:{tmp_path / 'sam.pth'}")
    config = transformers.SamVisionConfig(
        hidden_size=32,
        output_channels=8,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=96,
        mlp_ratio=2.0,
        mlp_dim=64,
        window_size=3,
        global_attn_indexes=[1],
        layer_norm_eps=1e-6,
    )
    network = transformers.SamVisionModel(config).eval()
    names = {
        "patch_embed.proj": "patch_embed.projection",
        "blocks.": "layers.",
        ".norm": ".layer_norm",
        "neck.0": "neck.conv1",
        "neck.1": "neck.layer_norm1",
        "neck.2": "neck.conv2",
        "neck.3": "neck.layer_norm2",
    }
    renamed = {}
    for key, value in state.items():
        for own_key, published_key in names.items():
            key = key.replace(own_key, published_key)
        renamed[f"vision_encoder.{key}"] = value
    network.load_state_dict(renamed)
    other = resolve("distill.teachers.huggingface:sam")(network)
    images = torch.randint(0, 256, (2, 3, 40, 60), dtype=torch.uint8)
    assert torch.allclose(
        teacher.features(images, (5, 7)), other.features(images, (5, 7)), atol=1e-4
    )


def test_published_sam_encoders_are_recognized_by_their_shapes() -> None:
    from segment_anything import build_sam_vit_b, build_sam_vit_h, build_sam_vit_l

    for build, width, depth, heads, layers in (
        (build_sam_vit_b, 768, 12, 12, (2, 5, 8, 11)),
        (build_sam_vit_l, 1024, 24, 16, (5, 11, 17, 23)),
        (build_sam_vit_h, 1280, 32, 16, (7, 15, 23, 31)),
    ):
        with torch.device("meta"):
            shapes = encoder_architecture(build().image_encoder.state_dict())
        assert (shapes["embed_dim"], shapes["depth"], shapes["num_heads"]) == (width, depth, heads)
        assert (shapes["img_size"], shapes["patch_size"], shapes["out_chans"]) == (1024, 16, 256)
        assert (shapes["window_size"], shapes["global_attn_indexes"]) == (14, layers)
        assert (shapes["mlp_ratio"], shapes["qkv_bias"]) == (4, True)


def test_a_sam_checkpoint_may_be_wrapped_and_in_half_precision(tmp_path: Path) -> None:
    state = {f"image_encoder.{key}": value for key, value in sam_pth_state().items()}
    torch.save(state, tmp_path / "plain.pth")
    wrapped = {"model": {f"module.{key}": value.half() for key, value in state.items()}}
    torch.save(wrapped, tmp_path / "wrapped.pth")
    plain, other = (build_teacher(f"sam:{tmp_path / name}.pth") for name in ("plain", "wrapped"))
    assert {value.dtype for value in other.parameters()} == {torch.float32}
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, atol=1e-3, rtol=1e-3)


def test_what_is_no_sam_checkpoint_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with pytest.raises(DataError, match="is not a file"):
        build_teacher(f"sam:{path}")
    state = {f"image_encoder.{key}": value for key, value in sam_pth_state().items()}
    del state["image_encoder.blocks.1.norm1.weight"]
    for content in (state, {"other": torch.zeros(1)}, [1, 2], nn.Linear(1, 1)):
        torch.save(content, path)
        with pytest.raises(DataError, match="not a readable checkpoint of SAM"):
            build_teacher(f"sam:{path}")
    path.write_bytes(b"nonsense")
    with pytest.raises(DataError, match="not a readable checkpoint of SAM"):
        build_teacher(f"sam:{path}")


def test_timm_takes_a_checkpoint_file_and_all_of_it(tmp_path: Path) -> None:
    network = timm.create_model("resnet10t")
    torch.save(network.state_dict(), tmp_path / "r.pth")
    teacher = build_teacher(f"timm:resnet10t@{tmp_path / 'r.pth'}")
    assert teacher.name == "timm-resnet10t"
    loaded = teacher.state_dict()
    assert all(
        torch.equal(loaded[f"network.{key}"], value) for key, value in network.state_dict().items()
    )
    partial = {key: value for key, value in network.state_dict().items() if "layer2" not in key}
    torch.save(partial, tmp_path / "r.pth")
    with pytest.raises(DataError, match="does not hold the weights"):
        build_teacher(f"timm:resnet10t@{tmp_path / 'r.pth'}")
    with pytest.raises(DataError, match="is not a file"):
        build_teacher(f"timm:resnet10t@{tmp_path / 'nowhere.pth'}")


def test_timm_without_weights_is_no_random_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise FileNotFoundError("cannot find the requested files in the local cache\nmore")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    with pytest.raises(MissingDependencyError, match="could not be had") as caught:
        build_teacher("timm:resnet10t")
    assert "timm:resnet10t@FILE" in caught.value.hint
    assert load_timm("resnet10t", pretrained=False).channels == 128 + 256
    with pytest.raises(UsageError, match="no network 'resnet_of_nobody'"):
        build_teacher("timm:resnet_of_nobody")


def test_a_run_teaches_with_its_best_weights_and_answers(tmp_path: Path) -> None:
    config = make_config({"data": ["x"], "size": 96, "pretrained": False})
    student = build_student("edge-s", pretrained=False).eval()
    describe_run(tmp_path, config)
    save_checkpoint(
        tmp_path / "checkpoints" / "best.pt",
        {"student": student.state_dict(), "metrics": {"dice_val": 0.5}},
    )
    teacher = build_teacher(f"run:{tmp_path}")
    assert isinstance(teacher, StudentMapsTeacher)
    assert teacher.channels == student.low_channels + student.high_channels
    images = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    with torch.no_grad():
        expected = student((images.float() - 127) / 128)
    assert teacher.features(images, (6, 8)).shape == (2, teacher.channels, 6, 8)
    task_teacher = build_task_teacher([f"run:{tmp_path}"])
    logits = task_teacher.features(images, (24, 24))
    assert torch.allclose(logits, expected, atol=1e-4)
    assert not logits.requires_grad
    assert task_teacher.identity != teacher.identity


def test_several_runs_answer_with_the_logit_of_their_mean(tmp_path: Path) -> None:
    students = []
    for name, size in (("a", 64), ("b", 96)):
        run = tmp_path / name
        describe_run(
            run,
            make_config({"data": ["x"], "student": "edge-xs", "size": size, "pretrained": False}),
        )
        students.append(build_student("edge-xs", pretrained=False).eval())
        save_checkpoint(
            run / "checkpoints" / "best.pt",
            {"student": students[-1].state_dict(), "metrics": {"dice_val": 0.5}},
        )
    specs = [f"run:{tmp_path / name}" for name in "ab"]
    both = build_task_teacher(specs)
    images = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    alone = [build_task_teacher([spec]).features(images, (24, 24)) for spec in specs]
    mean = torch.stack([logits.sigmoid() for logits in alone]).mean(dim=0)
    torch.testing.assert_close(both.features(images, (24, 24)).sigmoid(), mean)
    assert both.identity not in {build_task_teacher([spec]).identity for spec in specs}


@pytest.mark.parametrize("spec", ["run:", "efficientnet_lite2", "/some/folder"])
def test_only_a_run_has_logits(spec: str) -> None:
    with pytest.raises(UsageError, match="run:RUN"):
        build_task_teacher([spec])


def test_a_folder_without_a_run_or_its_weights_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run directory"):
        build_teacher(f"run:{tmp_path}")
    describe_run(tmp_path, make_config({"data": ["x"]}))
    with pytest.raises(TrainingError, match="no checkpoint"):
        build_teacher(f"run:{tmp_path}")


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"", ""),
        (b"\x08\0\0\0\0\0\0\0{}", ""),
    ],
    ids=["pointer", "empty", "cut"],
)
def test_damaged_weights_of_a_teacher_are_data_errors(
    content: bytes, detail: str, tmp_path: Path
) -> None:
    settings = {"hidden_size": 32, "image_size": 28, "patch_size": 14}
    network = transformers.Dinov2Model(
        transformers.Dinov2Config(num_hidden_layers=1, num_attention_heads=2, **settings)
    )
    network.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="is not a readable checkpoint") as caught:
        build_teacher(f"dinov2:{tmp_path}")
    assert detail in caught.value.got
    with pytest.raises(DataError, match="does not hold the weights"):
        build_teacher(f"timm:resnet18@{tmp_path / 'model.safetensors'}")


def test_a_teacher_in_half_precision_teaches_in_float32(tmp_path: Path) -> None:
    settings = {"hidden_size": 32, "image_size": 28, "patch_size": 14}
    network = transformers.Dinov2Model(
        transformers.Dinov2Config(num_hidden_layers=1, num_attention_heads=2, **settings)
    )
    network.half().save_pretrained(tmp_path)
    teacher = build_teacher(f"dinov2:{tmp_path}")
    assert {value.dtype for value in teacher.parameters()} == {torch.float32}

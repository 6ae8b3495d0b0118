"""File names of many languages are told apart by their bytes."""

import random

import pytest

from models.encodings import LANGUAGES, choose_encoding, decode_name

KOREAN = "강아지 고양이 사진 꽃 나무 자동차 책 칼 의자 사과 바나나 정상 불량 양품 긁힘 결함 학습 검증 새 소"
JAPANESE = "犬 猫 ねこ いぬ 写真 表 裏 ソース 花 車 りんご バナナ 良品 不良品 正常 異常 人 男 女 能面 鳥"
SIMPLIFIED = "猫 狗 照片 花 汽车 苹果 香蕉 正常 缺陷 划痕 人 男 女 训练 测试 鸟 麻雀 合格 不合格 飞机 树叶"
TRADITIONAL = "貓 狗 照片 花 汽車 蘋果 香蕉 正常 瑕疵 刮痕 人 男 女 訓練 測試 鳥 麻雀 合格 不合格 飛機 樹葉"
WESTERN = "Käfer Hündin Vögel Äpfel Bäume Bär Löwe café chèvre forêt éléphant zèbre garçon élève año niño ratón león"
CYRILLIC = "кошки собаки птицы Кошка Собака цветы машины яблоко дерево"
WORDS = {
    "cp949": KOREAN,
    "cp932": JAPANESE,
    "gbk": SIMPLIFIED,
    "cp950": TRADITIONAL,
    "cp1252": WESTERN,
    "cp850": WESTERN,
    "cp866": CYRILLIC,
    "cp1251": CYRILLIC,
}


def is_utf8(data: bytes) -> bool:
    try:
        return bool(data.decode())
    except UnicodeDecodeError:
        return False


@pytest.mark.parametrize("encoding", WORDS)
def test_three_names_tell_their_encoding(encoding):
    """Of a hundred sets of three class names at least ninety are read right; libraries for texts read twenty to forty
    of some of these."""
    rng, right = random.Random(0), 0
    for _ in range(100):
        words = rng.sample(WORDS[encoding].split(), 3)
        names = [word.encode(encoding) for word in words]
        found = choose_encoding(names)
        right += [decode_name(name, found) for name in names] == words
    assert right >= 90 and encoding in LANGUAGES


@pytest.mark.parametrize("words", [("강아지", "고양이"), ("사진",), ("책", "칼", "의자")])
def test_korean_names_are_read(words):
    """Also 책 and 칼, whose two bytes are valid UTF-8: what is beside them is not."""
    names = [word.encode("cp949") for word in words]
    found = choose_encoding(names)
    assert found == "cp949" and tuple(decode_name(name, found) for name in names) == words
    assert any(map(is_utf8, names)) == ("책" in words)


def test_the_second_byte_of_a_japanese_letter_may_be_a_backslash():
    words = ("表", "ソース", "犬", "猫")
    names = [word.encode("cp932") for word in words]
    assert any(b"\\" in name for name in names)
    found = choose_encoding(names)
    assert found == "cp932" and tuple(decode_name(name, found) for name in names) == words


def test_utf8_is_utf8_also_beside_others():
    korean = "강아지".encode("cp949")
    assert choose_encoding([b"cats", "Käfer".encode(), "고양이".encode()]) is None
    found = choose_encoding([korean, "Käfer".encode(), "고양이".encode()])
    assert [decode_name(name.encode(), found) for name in ("Käfer", "고양이", "cats")] == ["Käfer", "고양이", "cats"]


def test_what_is_in_no_encoding_is_marked():
    name = b"a\x98\xff\xfd"
    assert choose_encoding([name]) is None and decode_name(name).startswith("a\ufffd")


def test_any_bytes_become_text_that_can_be_sent():
    rng = random.Random(0)
    for _ in range(300):
        names = [rng.randbytes(rng.randrange(1, 9)) for _ in range(3)]
        found = choose_encoding(names)
        for name in names:
            decode_name(name, found).encode()

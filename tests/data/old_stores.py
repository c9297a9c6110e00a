"""Stores of earlier versions, which are read but not written any more: user 7 in segments of 40 rows."""

import base64

from rwkv.data.database import Database
from rwkv.data.history import RevlogTable
from tests.helpers import make_table, random_revlog

_VALUES = {
    "7_reviews": (
        "a(8QXb9HSo%BTvU@L=KAD77#BWOf3D3;^^J0RR91G5`Vw1_TBG2mk^I2mk;M2nYZK3JwSi3<d%a1_%TS1_TfU4hjei1PTxY5CRGi"
        "0tf~M1_B5I1_lNO1Of&E1PBNO00aO8pyq%g1|q;NJ`jW=TJ(Bq<V>tIO5Vsauy|s8Mua-#hR$9_UcMaA(!fsOpp-b+`d&T20cJ>k"
        "qgIMFuB=6OTbrQueyxiYPY%lod3H;5y;sKxauSaeGfg!;DGAk)3%8N{0RR92009620RaL600RF0{z}+~t04Y3{v@{e{{HC+-2UM0"
        "sYS$=?*%UEMo_r$g|!?+{vspwWe_rxBg<-HqN1WF;E1fXqJ^S7Y9XScMBjCyU0jkTH+9o5)(!Q&y6o>KfSD;bW04wl`c1t%B})PV"
        "0s;X60RaI42r>dHppi)xSlIIK;y?oEY_tQFz*d~4>_|sQXwGOe@P-=THtsf0mf9oVfYIG_#K&;Eveq;RRtR#gckJW{e(IxCv+qhm"
        "usCB>=#J4Gss~xXK8#K!_5^t+`iz#-^#Qv#sbT"
    ),
    "7_segments": ("a(8QXb9HSobwOU?+<86l000006aWAKAOHXW6aWAKC;$KeC;$KeC;$KeG5`Po6aWAK"),
    "meta": (
        "dm?6Ua&2LBB03-<a(8QXAaZ4PX=QgHb98TVWg;vfB6ekRb7^mGB03;4EFdCnVR&C+VRU0?Uvp`CWg<EtG%ze6B5i4Nb7^j8Uv6)7"
        "Wpg4rAR=#fZXzroB5Yw|Wo%z&X>4?5a$jp@d0%jHWoBu3B03-<A}k;xV`yb#YjbsNB03-<WiU5pHDzToIWRajW@a>EB7F"
    ),
}

_SEAL_BYTES = 16


def stored_before() -> RevlogTable:
    """The history in the stores. Every second review is a key."""
    return make_table(random_revlog(7, 50, 8), user=7)


def write_version_2(database: Database) -> None:
    """The values that the last program of version 2 wrote."""
    database.put({key: base64.b85decode(value) for key, value in _VALUES.items()})


def write_version_1(database: Database) -> None:
    """The same values without checksums."""
    meta = b'{"format": "rwkv review store", "version": 1, "max_batch_size": 40, "missing_notes": "own", '
    meta += b'"label_filter_key_prefix": ""}'
    values = {key: base64.b85decode(value)[_SEAL_BYTES:] for key, value in _VALUES.items() if key != "meta"}
    database.put(values | {"meta": meta})

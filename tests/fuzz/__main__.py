import sys
from pathlib import Path
from tests.fuzz.cases import run_case
from collections import Counter
import time
if sys.argv[1]=="--case":
    k,s=sys.argv[2].split(":")
    c=run_case(k,int(s),way=sys.argv[3] if len(sys.argv)>3 else None)
    print("\n".join(c.told)); print(c.findings, c.seconds)
else:
    kind=sys.argv[1]; a,b=int(sys.argv[2]),int(sys.argv[3])
    t=time.time(); ended=Counter()
    import re
    sigs={}
    for s in range(a,b):
        c=run_case(kind,s,way=sys.argv[4] if len(sys.argv)>4 else "process")
        ended.update(c.ended)
        for f in c.findings[:1]:
            sigs.setdefault(re.sub(r"[0-9]+|'[^']*'","#",f)[:110],[]).append((c.name,f[:400]))
    for k,v in sorted(sigs.items(),key=lambda x:-len(x[1])): print(len(v),v[0][0],v[0][1], [n for n,_ in v[1:4]])
    print(ended,time.time()-t)

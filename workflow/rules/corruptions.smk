# The corrupted test images of Tables 2 and 3: where they come from, and what they look like. Reads data/test.safetensors;
# writes figures/corruptions, on request data/corruptions.tar, and downloads the official archive where it is asked for.
# ARCHIVE is the file to read them from; without one each evaluation makes them in a stream.

ARCHIVE = []

if settings.corruptions and (settings.embedding or settings.robustness):
    targets += [f"{RESULTS}/figures/corruptions.{kind}" for kind in ("pdf", "png")]

    if settings.corruptions.source == "cifar10_c":
        ARCHIVE = [settings.corruptions.path or "downloads/CIFAR-10-C.tar"]

        rule download_corruptions:
            output:
                archive=ARCHIVE[0],
            log:
                f"{RESULTS}/logs/download_corruptions.log",
            benchmark:
                f"{RESULTS}/benchmarks/download_corruptions.tsv"
            localrule: True
            conda:
                ENVIRONMENT
            threads: LIGHT.threads
            resources:
                gpu=0,
                mem_mb=LIGHT.mem_mb,
                runtime=growing(LIGHT.runtime),
            # no digest of the code here: an edit must not throw away a download of gigabytes, whose MD5 was checked
            shell:
                "python -m lgg.pipeline download_corruptions --recipe {{}} --out-archive {output.archive:q} > {log:q} 2>&1"

    elif settings.corruptions.keep:
        ARCHIVE = [f"{RESULTS}/data/corruptions.tar"]

        rule keep_corruptions:
            input:
                test=TEST_IMAGES,
            output:
                archive=ARCHIVE[0],
            log:
                f"{RESULTS}/logs/keep_corruptions.log",
            benchmark:
                f"{RESULTS}/benchmarks/keep_corruptions.tsv"
            # evaluations wait for it
            priority: 10
            conda:
                ENVIRONMENT
            threads: EVALUATE.threads
            resources:
                gpu=0,
                mem_mb=EVALUATE.mem_mb,
                runtime=growing(EVALUATE.runtime),
            params:
                recipe=recipes.keep_corruptions(settings.corruptions).settings,
                code=recipes.keep_corruptions(settings.corruptions).code,
            shell:
                "python -m lgg.pipeline keep_corruptions --recipe {params.recipe:q} --threads {threads}"
                " --test {input.test:q} --out-archive {output.archive:q} > {log:q} 2>&1"

    rule draw_corruptions:
        input:
            test=TEST_IMAGES,
            archive=ARCHIVE,
        output:
            pdf=f"{RESULTS}/figures/corruptions.pdf",
            png=in_report(
                f"{RESULTS}/figures/corruptions.png",
                SECTION["supplements"],
                "Corruptions: one image under every corruption and severity",
            ),
        log:
            f"{RESULTS}/logs/draw_corruptions.log",
        benchmark:
            f"{RESULTS}/benchmarks/draw_corruptions.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        threads: LIGHT.threads
        resources:
            gpu=0,
            mem_mb=LIGHT.mem_mb,
            runtime=growing(LIGHT.runtime),
        params:
            recipe=recipes.draw_corruptions(settings.corruptions).settings,
            code=recipes.draw_corruptions(settings.corruptions).code,
            archive="--corruptions" if ARCHIVE else "",
        shell:
            "python -m lgg.pipeline draw_corruptions --recipe {params.recipe:q} --test {input.test:q}"
            " {params.archive} {input.archive:q} --out-pdf {output.pdf:q} --out-png {output.png:q} > {log:q} 2>&1"

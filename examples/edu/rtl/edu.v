// QEMU's `edu` teaching device (docs/specs/edu) as hardware: identification, factorial, interrupts, and a DMA engine with
// a buffer of its own. Registers are an AXI4-Lite slave of 32 bits, DMA is an AXI4 master of 64 bits.
//
//      0x00  identification, 0x010000ed            0x60  raise an interrupt: OR into 0x24
//      0x04  liveness: reads the inverse           0x64  acknowledge: clear in 0x24
//      0x08  factorial of what is written          0x80  DMA source        (64 bits, upper half at 0x84)
//      0x20  status: 0x01 computing,               0x88  DMA destination   (64 bits, upper half at 0x8c)
//            0x80 interrupt when done              0x90  DMA byte count
//      0x24  interrupt status                      0x98  DMA command: 1 run, 2 to memory, 4 interrupt when done
//                                                  0x40000  the buffer, reached by DMA only
//
// `intx` is the interrupt line; `msi` is high for one clock when a message is due.
module edu (
    input  wire        clk,
    input  wire        rst_n,

    // Strap: address bits that the DMA engine drives, 1 to 64.
    input  wire [6:0]  dma_bits,

    input  wire [19:0] s_axil_awaddr,
    input  wire        s_axil_awvalid,
    output wire        s_axil_awready,
    input  wire [31:0] s_axil_wdata,
    input  wire [3:0]  s_axil_wstrb,
    input  wire        s_axil_wvalid,
    output wire        s_axil_wready,
    output wire [1:0]  s_axil_bresp,
    output reg         s_axil_bvalid,
    input  wire        s_axil_bready,
    input  wire [19:0] s_axil_araddr,
    input  wire        s_axil_arvalid,
    output wire        s_axil_arready,
    output reg  [31:0] s_axil_rdata,
    output wire [1:0]  s_axil_rresp,
    output reg         s_axil_rvalid,
    input  wire        s_axil_rready,

    output wire [63:0] m_axi_araddr,
    output wire [7:0]  m_axi_arlen,
    output wire [2:0]  m_axi_arsize,
    output wire [1:0]  m_axi_arburst,
    output wire        m_axi_arvalid,
    input  wire        m_axi_arready,
    input  wire [63:0] m_axi_rdata,
    input  wire [1:0]  m_axi_rresp,
    input  wire        m_axi_rlast,
    input  wire        m_axi_rvalid,
    output wire        m_axi_rready,
    output wire [63:0] m_axi_awaddr,
    output wire [7:0]  m_axi_awlen,
    output wire [2:0]  m_axi_awsize,
    output wire [1:0]  m_axi_awburst,
    output wire        m_axi_awvalid,
    input  wire        m_axi_awready,
    output wire [63:0] m_axi_wdata,
    output wire [7:0]  m_axi_wstrb,
    output wire        m_axi_wlast,
    output wire        m_axi_wvalid,
    input  wire        m_axi_wready,
    input  wire [1:0]  m_axi_bresp,
    input  wire        m_axi_bvalid,
    output wire        m_axi_bready,

    output wire        intx,
    output reg         msi
);

  localparam [31:0] IDENTIFICATION = 32'h010000ed;
  localparam [31:0] INTERRUPT_FACTORIAL = 32'h001;
  localparam [31:0] INTERRUPT_DMA = 32'h100;
  wire [63:0] dma_mask = dma_bits[6] ? {64{1'b1}} : (64'd1 << dma_bits[5:0]) - 64'd1;

  // ------------------------------------------------------------------------------------------------ registers
  reg [31:0] liveness, factorial, factor, interrupts;
  reg        computing, interrupt_when_done;
  reg [63:0] source, destination, count;
  reg [2:0]  command;
  wire       running = command[0];

  // One write at a time: both halves of it, then the response.
  wire        write = s_axil_awvalid && s_axil_wvalid && !s_axil_bvalid;
  assign      s_axil_awready = write;
  assign      s_axil_wready = write;
  assign      s_axil_bresp = 2'b00;
  // The device takes accesses of 32 bits only; others change nothing.
  wire        whole = s_axil_wstrb == 4'b1111;
  wire [19:0] to = s_axil_awaddr;
  wire [31:0] data = s_axil_wdata;
  wire        start = write && whole && to == 20'h98 && data[0] && !running;

  wire        read = s_axil_arvalid && !s_axil_rvalid;
  assign      s_axil_arready = read;
  assign      s_axil_rresp = 2'b00;

  wire        dma_done;
  wire [31:0] raised = (write && whole && to == 20'h60 ? data : 32'd0)
      | (computing && factorial_done && interrupt_when_done ? INTERRUPT_FACTORIAL : 32'd0)
      | (dma_done && command[2] ? INTERRUPT_DMA : 32'd0);
  wire [31:0] cleared = write && whole && to == 20'h64 ? data : 32'd0;
  wire        factorial_done = factor <= 32'd1 || factorial == 32'd0;

  assign intx = interrupts != 32'd0;

  always @(posedge clk) begin
    if (!rst_n) begin
      s_axil_bvalid <= 1'b0;
      liveness <= 32'd0;
      factorial <= 32'd0;
      factor <= 32'd0;
      computing <= 1'b0;
      interrupt_when_done <= 1'b0;
      interrupts <= 32'd0;
      source <= 64'd0;
      destination <= 64'd0;
      count <= 64'd0;
      command <= 3'd0;
      msi <= 1'b0;
    end else begin
      if (write) s_axil_bvalid <= 1'b1;
      else if (s_axil_bready) s_axil_bvalid <= 1'b0;

      if (computing) begin
        if (factorial_done) computing <= 1'b0;
        else begin
          factorial <= factorial * factor;
          factor <= factor - 32'd1;
        end
      end

      interrupts <= (interrupts & ~cleared) | raised;
      // A message is due whenever a write or an event raises something.
      msi <= raised != 32'd0;
      if (dma_done) command[0] <= 1'b0;

      if (write && whole)
        case (to)
          20'h04: liveness <= ~data;
          20'h08:
          if (!computing) begin
            factorial <= 32'd1;
            factor <= data;
            computing <= 1'b1;
          end
          20'h20: interrupt_when_done <= data[7];
          20'h80: if (!running) source <= {32'd0, data};
          20'h84: if (!running) source[63:32] <= data;
          20'h88: if (!running) destination <= {32'd0, data};
          20'h8c: if (!running) destination[63:32] <= data;
          20'h90: if (!running) count <= {32'd0, data};
          20'h94: if (!running) count[63:32] <= data;
          20'h98: if (start) command <= data[2:0];
          default: ;
        endcase
    end
  end

  always @(posedge clk) begin
    if (!rst_n) s_axil_rvalid <= 1'b0;
    else if (read) begin
      s_axil_rvalid <= 1'b1;
      case (s_axil_araddr)
        20'h00: s_axil_rdata <= IDENTIFICATION;
        20'h04: s_axil_rdata <= liveness;
        20'h08: s_axil_rdata <= factorial;
        20'h20: s_axil_rdata <= {24'd0, interrupt_when_done, 6'd0, computing};
        20'h24: s_axil_rdata <= interrupts;
        20'h80: s_axil_rdata <= source[31:0];
        20'h84: s_axil_rdata <= source[63:32];
        20'h88: s_axil_rdata <= destination[31:0];
        20'h8c: s_axil_rdata <= destination[63:32];
        20'h90: s_axil_rdata <= count[31:0];
        20'h94: s_axil_rdata <= count[63:32];
        20'h98: s_axil_rdata <= {29'd0, command};
        20'h9c: s_axil_rdata <= 32'd0;
        default: s_axil_rdata <= 32'hffffffff;
      endcase
    end else if (s_axil_rready) s_axil_rvalid <= 1'b0;
  end

  // ------------------------------------------------------------------------------------------------------ DMA
  // The engine starts one clock after the command, so that it sees the registers as they are.
  reg start_engine;
  always @(posedge clk) start_engine <= rst_n && start;

  edu_dma engine (
      .clk(clk),
      .rst_n(rst_n),
      .start(start_engine),
      .to_memory(command[1]),
      .memory((command[1] ? destination : source) & dma_mask),
      .device(command[1] ? source : destination),
      .count(count),
      .done(dma_done),
      .m_axi_araddr(m_axi_araddr),
      .m_axi_arlen(m_axi_arlen),
      .m_axi_arvalid(m_axi_arvalid),
      .m_axi_arready(m_axi_arready),
      .m_axi_rdata(m_axi_rdata),
      .m_axi_rvalid(m_axi_rvalid),
      .m_axi_rready(m_axi_rready),
      .m_axi_awaddr(m_axi_awaddr),
      .m_axi_awlen(m_axi_awlen),
      .m_axi_awvalid(m_axi_awvalid),
      .m_axi_awready(m_axi_awready),
      .m_axi_wdata(m_axi_wdata),
      .m_axi_wstrb(m_axi_wstrb),
      .m_axi_wlast(m_axi_wlast),
      .m_axi_wvalid(m_axi_wvalid),
      .m_axi_wready(m_axi_wready),
      .m_axi_bvalid(m_axi_bvalid),
      .m_axi_bready(m_axi_bready)
  );

  assign m_axi_arsize = 3'd3;
  assign m_axi_arburst = 2'b01;
  assign m_axi_awsize = 3'd3;
  assign m_axi_awburst = 2'b01;

endmodule
